"""Pictures of results: drawn frames, charts, and one page a run."""
