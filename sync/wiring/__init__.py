"""The only place that builds adapters and hands them to the flows: one module a command or job."""
