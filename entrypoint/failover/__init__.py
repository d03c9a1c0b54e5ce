"""A cluster of several nodes: Patroni starts and stops this node's server, and chooses the leader."""
