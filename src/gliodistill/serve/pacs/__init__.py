"""A node of the PACS: studies come in by C-STORE or DICOMweb, SEG and SR go back.

What has come in, what was made of it and what is still to be sent is in a database on disk, so that
no study is lost and none is done twice, however the node or the archive ends.
"""
