"""Which data, configuration and code made an artefact."""
