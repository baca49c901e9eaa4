"""Complete configurations, one file each."""
