"""The networks in PyTorch: what training fits and export writes out.

Nothing on the node's path imports this package; a hospital installs no torch.
"""
