"""The study: four networks trained on the Guangzhou radiographs, evaluated and compared."""
