"""The study: four networks on the Guangzhou radiographs, trained, evaluated and compared."""
