"""The server on top of a real PACS (Orthanc with its DICOMweb plugin)."""
