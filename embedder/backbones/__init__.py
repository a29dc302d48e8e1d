"""The models whose vectors are served: which files, which preprocessing, which output."""
