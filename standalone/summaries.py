"""What each command does, in one line, for the help of `similis`."""

UP = "run Similis on this machine until Ctrl-C"
KEYS = "create, import, list and delete API keys"
MIGRATE = "bring the database schema up to date"
MIGRATE_FROM = "copy the collections of an older service"
CHECK = "try everything that a service needs, and say what to change"
BACKUP = "copy everything to a folder while Similis works"
RESTORE = "make a data directory from a backup, or fill empty servers"
