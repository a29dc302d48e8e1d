"""The demo: a small collection of free photographs, from nothing to answered searches, over the REST API only."""
