"""Where in a picture is what?  Object detection over the frozen features of a model (R-CNN)."""
