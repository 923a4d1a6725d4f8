"""A trained recognizer to an encoder graph and a step graph, with proof that they agree."""
