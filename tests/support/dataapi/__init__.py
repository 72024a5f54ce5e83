"""A double of the Data API: the documented JSON over HTTP, stored into a real Cassandra in the real server's layout."""
