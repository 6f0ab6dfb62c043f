"""What has changed since a release was made: drift, estimated and realised performance."""
