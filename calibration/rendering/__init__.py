"""Pictures of faces that never were: ICT-FaceKit geometry, rendered in NumPy, with what each shows written down."""
