"""What tests of Penstock, and of programs built on it, can use.

- `virtual_clock.VirtualClock`: time that moves only when every task waits, so that hours pass in milliseconds.
- `simulated_cluster.SimulatedCluster` in front of a `simulated_world.SimulatedWorld`: a cluster in virtual time with
  latencies, limits and faults, all drawn from a seed. The world outlives the actor and counts what was really executed.
- `scripted_workers.ScriptedWorkers`: answers for workflow actors without worker processes or engines.
- `scripted_shell.ScriptedShell`: a cluster's shell that knows its lines and insists on them.
- `scripted_daemon.ScriptedDaemon`: a control socket that answers by a script, for tests of clients.

A workflow's actor is made with `Surroundings(clock, workers, board, cluster, ...)`; give it a `VirtualClock`,
`ScriptedWorkers` and the reference of a supervised `SimulatedCluster`, then `await clock.run_until(...)`.
"""
