"""What do the layers of an encoder know of grammar and meaning?  Edge probing."""
