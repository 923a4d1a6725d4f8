"""What recognition costs here: time by stage, memory, energy, against what the machine could do."""
