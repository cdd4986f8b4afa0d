"""orthanc_research: from an Orthanc archive to research data that can be trusted."""
