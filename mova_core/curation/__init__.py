"""From raw video to gated, captioned clips."""
