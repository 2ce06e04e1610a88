"""Values and decisions: identifiers, states, resources, budgets, retries. Standard library and msgspec only."""
