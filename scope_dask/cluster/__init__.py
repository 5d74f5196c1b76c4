"""Clusters: profiles of sites, and Dask clusters that are launched, found again by name, watched and stopped.

`profile` says what a job is, `keeper` is the process that holds the scheduler, `fleet` keeps the jobs there, `folder`
is what a launched cluster leaves on disk for others to find it, `launch` starts and stops keepers, `connect` gives
clients.
"""
