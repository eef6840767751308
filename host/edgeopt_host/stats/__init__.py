"""Statistics over raw samples. The agent never averages: everything is computed here."""
