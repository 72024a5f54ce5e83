"""Cut-overs and rollbacks under load from several processes: by hand, one after the other, and while processes die."""
