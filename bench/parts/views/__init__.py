"""Images that are made from photographs."""
