"""What the tests stand on: brokers, a fault proxy, a scripted server, certificates.  Nothing here tests
anything.
"""
