"""New handwritten formulas out of segmented ink: new captions, laid out and inked as by people."""
