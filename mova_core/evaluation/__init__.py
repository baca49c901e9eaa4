"""What a model does, measured on clips it has not seen."""
