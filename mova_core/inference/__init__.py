"""From prompts and first frames to video with sound."""
