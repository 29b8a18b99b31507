"""What attackers, crashes and a machine at its limits do to progeo."""
