"""What do the pretext tasks on pictures need beside their objectives?  What is cut from a picture, and sheets of it."""
