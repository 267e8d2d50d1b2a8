"""The S3 door: buckets are the top directories of a space, keys are the paths below them.

One file per operation; ``app`` routes, ``signing`` says who asks, ``payload`` takes bodies in all their encodings,
``described`` keeps a client's headers. What is supported and what is not is in docs/operate/s3.md.
"""
