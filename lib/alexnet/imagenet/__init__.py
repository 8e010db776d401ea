"""Training and evaluation on folders of photographs, at full size."""
