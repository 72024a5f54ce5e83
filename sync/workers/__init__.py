"""What RQ's workers run. It lives in the package: a folder with a package `workers` of its own hides nothing of it."""
