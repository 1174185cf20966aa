"""A scene in Blender, built in code and rendered by Cycles.

The one module that imports ``bpy``, and ``blender_worker``, a process of its own, the one that imports this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector
from PIL import Image

from mmcl.rendering.blender import Look
from mmcl.rendering.meshes import Mesh
from mmcl.rendering.scene import (
    GROUND,
    LAMP_POSITION,
    LAMP_POWER,
    LAMP_SIDE,
    SPOT_ANGLE,
    SPOT_BLEND,
    SPOT_POWER,
    SPOT_RADIUS,
    SUN,
    Camera,
    Material,
    Scene,
)

GROUND_SIDE = 1500.0
FAR = 1000.0
"""How far the camera sees; the ground's farthest point in its picture is some 90 away."""

FILM = 50.0
"""Width of the camera's film in mm; only its ratio to the focal length counts."""


class Studio:
    """Camera, ground, lights and materials, and one object that takes each scene's shape, place and colours.

    Args:
        meshes: of the shapes, in their order.
        size: pixels of a side.
        samples: of a pixel along each side: Cycles gets their square.
        camera: where the scene is seen from.
        look: of lights and materials.
        folder: for the picture on its way out of Blender.
    """

    def __init__(
        self, meshes: Sequence[Mesh], size: int, samples: int, camera: Camera, look: Look, folder: Path
    ) -> None:
        # A user's own settings and add-ons must not show in the picture.
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self._scene = bpy.context.scene
        self._file = folder / "picture.png"
        _set_up(self._scene, size, samples, self._file)
        self._meshes = [_mesh(f"shape{i}", mesh) for i, mesh in enumerate(meshes)]
        self._materials = {Material.rubber: _rubber("rubber", look), Material.metal: _metal("metal", look)}
        self._ground = _rubber("ground", look)
        self._object = self._add("object", self._meshes[0])
        for mesh in self._meshes:
            mesh.materials.append(self._materials[Material.rubber])
        self._add("ground", _plane()).data.materials.append(self._ground)
        self._look_through(camera)
        self._spot = self._light_up(look)

    def render(self, scene: Scene) -> np.ndarray:
        """The picture: ``(size, size, 3)``, uint8, sRGB."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = scene.rotation, scene.position
        mesh = self._meshes[scene.shape]
        mesh.materials[0] = self._materials[scene.material]
        self._object.data = mesh
        self._object.matrix_world = Matrix(matrix.tolist())
        _paint(self._materials[scene.material], scene.color)
        _paint(self._ground, scene.ground_color)
        self._spot.data.color = scene.spot_color.tolist()
        aim(self._spot, scene.spot_position.tolist(), scene.position.tolist())
        bpy.ops.render.render(write_still=True)
        with Image.open(self._file) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self._file.unlink()  # the next one may not be there, and this one is not it
        return pixels

    def _add(self, name: str, data: Any) -> Any:
        made = bpy.data.objects.new(name, data)
        self._scene.collection.objects.link(made)
        return made

    def _look_through(self, camera: Camera) -> None:
        data = bpy.data.cameras.new("camera")
        data.sensor_width, data.lens, data.clip_end = FILM, FILM / 2 / math.tan(camera.fov / 2), FAR
        self._scene.camera = self._add("camera", data)
        aim(self._scene.camera, camera.position, camera.target)

    def _light_up(self, look: Look) -> Any:
        """Sun and lamp, which stay; the spotlight is returned."""
        sun = bpy.data.lights.new("sun", "SUN")
        sun.energy, sun.angle = SUN, look.sun_angle
        self._add("sun", sun)  # (a light shines down its own -z: as it is made, down)
        lamp = bpy.data.lights.new("lamp", "AREA")
        lamp.shape, lamp.size, lamp.energy = "SQUARE", LAMP_SIDE, LAMP_POWER
        self._add("lamp", lamp).location = LAMP_POSITION
        spot = bpy.data.lights.new("spot", "SPOT")
        spot.energy, spot.shadow_soft_size = SPOT_POWER, SPOT_RADIUS
        spot.spot_size, spot.spot_blend = SPOT_ANGLE, SPOT_BLEND
        return self._add("spot", spot)


def aim(thing: Any, position: Sequence[float], target: Sequence[float]) -> None:
    """Put a camera or light at ``position`` and turn its -z to ``target``, its y up."""
    thing.location = position
    towards = Vector(target) - Vector(position)
    thing.rotation_euler = towards.to_track_quat("-Z", "Y").to_euler()


def _set_up(scene: Any, size: int, samples: int, file: Path) -> None:
    world = bpy.data.worlds.new("world")
    world.color = (0, 0, 0)
    scene.world = world
    render, cycles = scene.render, scene.cycles
    render.engine, cycles.device = "CYCLES", "CPU"
    render.resolution_x = render.resolution_y = size
    render.resolution_percentage = 100
    # The same bytes each time: one thread, one seed, and as many samples for each pixel.
    render.threads_mode, render.threads = "FIXED", 1
    cycles.seed, cycles.use_adaptive_sampling, cycles.samples = 0, False, samples**2
    cycles.max_bounces = cycles.transparent_max_bounces = 0
    cycles.light_sampling_threshold = 0
    cycles.pixel_filter_type, cycles.filter_width = "BLACKMAN_HARRIS", 1.5
    cycles.use_denoising, cycles.denoiser, cycles.denoising_use_gpu = True, "OPENIMAGEDENOISE", False
    cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB", "NONE"
    cycles.denoising_quality = "FAST"
    render.use_persistent_data = True  # between pictures of the same meshes
    scene.view_settings.view_transform, scene.view_settings.look = "Standard", "None"
    render.dither_intensity = 0
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGB"
    render.image_settings.color_depth, render.image_settings.compression = "8", 0
    render.use_file_extension, render.filepath = False, str(file)


def _mesh(name: str, mesh: Mesh) -> Any:
    made = bpy.data.meshes.new(name)
    made.from_pydata(mesh.vertices.tolist(), [], mesh.triangles.tolist())
    made.polygons.foreach_set("use_smooth", [True] * len(made.polygons))
    made.normals_split_custom_set_from_vertices(mesh.normals.tolist())
    return made


def _plane() -> Any:
    half = GROUND_SIDE / 2
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    made = bpy.data.meshes.new("ground")
    made.from_pydata([(x, y, GROUND) for x, y in corners], [], [(0, 1, 2, 3)])
    return made


COLOR = "color"


class _Nodes:
    """A material's shader in the making; its node ``COLOR`` is what ``_paint`` sets."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self._tree = self.material.node_tree
        self._tree.nodes.clear()
        self.color = self._new("ShaderNodeRGB").outputs[0]
        self.color.node.name = COLOR

    def bsdf(self, kind: str, distribution: str, color: Any = None, **inputs: float) -> Any:
        """A surface of one kind, painted with ``COLOR`` unless ``color`` says otherwise."""
        node = self._new(kind)
        if distribution:
            node.distribution = distribution
        if color is None:
            self._tree.links.new(self.color, node.inputs["Color"])
        else:
            node.inputs["Color"].default_value = color
        for name, value in inputs.items():
            node.inputs[name].default_value = value
        return node.outputs[0]

    def fresnel(self, ior: float) -> Any:
        """What is reflected of light at the angle of view."""
        node = self._new("ShaderNodeFresnel")
        node.inputs["IOR"].default_value = ior
        return node.outputs[0]

    def mix(self, share: Any, first: Any, second: Any) -> Any:
        """``share``, a number or an output, of ``second``, and the rest of ``first``."""
        node = self._new("ShaderNodeMixShader")
        if isinstance(share, float):
            node.inputs[0].default_value = share
        else:
            self._tree.links.new(share, node.inputs[0])
        self._tree.links.new(first, node.inputs[1])
        self._tree.links.new(second, node.inputs[2])
        return node.outputs[0]

    def done(self, surface: Any) -> Any:
        self._tree.links.new(surface, self._new("ShaderNodeOutputMaterial").inputs["Surface"])
        return self.material

    def _new(self, kind: str) -> Any:
        return self._tree.nodes.new(kind)


def _rubber(name: str, look: Look) -> Any:
    """Cloth's sheen over a diffuse ground, under a grey gloss, both by Fresnel's formula."""
    make = _Nodes(name)
    diffuse = make.bsdf("ShaderNodeBsdfDiffuse", "")
    sheen = make.bsdf("ShaderNodeBsdfSheen", "ASHIKHMIN", Roughness=look.sheen_roughness)
    gloss = make.bsdf(
        "ShaderNodeBsdfAnisotropic", "BECKMANN", (*[look.gloss] * 3, 1.0), Roughness=look.gloss_roughness
    )
    under = make.mix(make.fresnel(look.sheen_ior), diffuse, sheen)
    return make.done(make.mix(make.fresnel(look.gloss_ior), under, gloss))


def _metal(name: str, look: Look) -> Any:
    """Two GGX lobes of the object's colour."""
    make = _Nodes(name)
    sharp, broad = (
        make.bsdf("ShaderNodeBsdfAnisotropic", "GGX", Roughness=roughness, Anisotropy=look.anisotropy)
        for roughness in look.lobes
    )
    return make.done(make.mix(look.sharp_share, broad, sharp))


def _paint(material: Any, color: np.ndarray) -> None:
    material.node_tree.nodes[COLOR].outputs[0].default_value = (*color.tolist(), 1.0)
