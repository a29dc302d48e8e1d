"""Image files of an attacker: what they cost, what is odd about them, and what they pretend to be."""
