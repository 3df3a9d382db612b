"""One function per verb, path in and path out: the only place where the rooms meet."""
