"""Elastic constants: from strains and stresses to the tensor, and from the tensor to what people compare.

`strain` plans, `fit` fits, `moduli`, `directions` and `sound` derive, `figures` shows. All tensors are in Voigt order
(xx yy zz yz xz xy) and in the Cartesian frame of the cell that was given; `crystal_symmetry.turn_crystal` with
`to_standard` brings a crystal into the frame of its conventional cell first, in which cubic crystals have C11, C12 and
C44 only.
"""
