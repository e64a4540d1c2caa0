"""Tests on kernel mounts of NFS and SMB shares."""
