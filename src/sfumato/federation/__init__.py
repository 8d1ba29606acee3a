"""Computing together without pooling data: one protocol object, run in process, in simulation or on real machines."""
