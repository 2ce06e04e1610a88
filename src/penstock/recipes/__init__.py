"""Which steps a workflow needs: the plan as a function, and where its structures come from."""
