"""The mapper: the best loop nest of an einsum on a machine, by branch and bound and by annealing."""
