"""The DICOM citizen: receives chest films, returns draft reports."""
