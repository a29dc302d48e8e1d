"""From encoded bytes that nobody trusts to the pixels that a backbone takes."""
