"""Records, manifests, media files and shards: what steps hand to each other."""
