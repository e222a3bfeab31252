"""Studies beyond the paper: of finished runs, of moisture and of scale."""
