"""What a cluster is: the spool, the runner that works through submissions, and the processes of this machine."""
