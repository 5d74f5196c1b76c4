"""Runs watched while they go on: in a browser, by Prometheus, in a terminal.

The program that runs keeps the totals (`state`) and tells the scheduler of them about once a second (`announce`), so
that watching costs nothing per partition. The scheduler keeps what it was told (`scheduler`) and answers with a page
(`page`) and metrics (`metrics`); `terminal` prints the same. All show the numbers of `figures`.
"""
