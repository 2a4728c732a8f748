"""What to do about the difference between the site as wanted and as observed. Pure."""
