"""From an xl.cfg's displays, keyboards and character devices to libvirt's <devices>."""

from __future__ import annotations

import re

from lxml import etree

from xsm.site import xl_vif
from xsm.site.model import HypervisorKind
from xsm.site.xl_options import Options

VNC_PORT_BASE = 5900
_VGA = {"stdvga": "vga", "cirrus": "cirrus", "qxl": "qxl"}
_VGA_LEAST_MIB = {"stdvga": 16, "cirrus": 8, "qxl": 128}
_INPUTS = {"tablet": "tablet", "mouse": "mouse", "keyboard": "keyboard"}
_SOUNDS = frozenset({"ac97", "es1370", "sb16"})
_VNC_OPTIONS = (
    *("vnclisten", "vncdisplay", "vncunused", "vncpasswd"),
    *("keymap", "display", "xauthority"),
)
_VFB_KEYS = frozenset({"type", "vnc", "sdl", *_VNC_OPTIONS})
_TCP = re.compile(r"(tcp|telnet):([^:,]*):([0-9]{1,5})(,.*)?")
_HOST_DISPLAY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")


class Consoles:
    """Appends one guest's displays, inputs, serial ports, channels and sound to `devices`."""

    def __init__(
        self, options: Options, devices: etree._Element, kind: HypervisorKind, hvm: bool
    ) -> None:
        self.options, self.devices, self.kind, self.hvm = options, devices, kind, hvm
        self.xen = kind is HypervisorKind.XEN

    def all(self) -> None:
        self._text_console()
        self._channels()
        if self.hvm:
            self._usb_inputs()
            self._sound()
            self._hvm_display()
        else:
            self._pv_display()

    def _sub(self, parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
        return etree.SubElement(parent, tag, attributes)

    def _text_console(self) -> None:
        """A PV guest's console is hvc0; on KVM a virtio console has the same name."""
        if not self.hvm:
            console = self._sub(self.devices, "console", type="pty")
            self._sub(console, "target", type="xen" if self.xen else "virtio", port="0")
            return
        ports = self.options.texts("serial")
        if self.xen and len(ports) > 1:
            for item in ports[1:]:
                self.options.warn(
                    item.line,
                    f"serial {item.text[:60]} is not carried over: libvirt's Xen takes one",
                )
            ports = ports[:1]
        for number, item in enumerate(ports):
            serial = None if item.text == "none" else self._character_device("serial", item.text)
            if serial is not None:
                self._sub(serial, "target", port=str(number))
                self.devices.append(serial)
            elif item.text != "none":
                self.options.warn(
                    item.line,
                    f"serial {item.text[:60]} is not carried over",
                    "pty, /dev/..., file:PATH, unix:PATH,server or tcp:HOST:PORT",
                )

    def _character_device(self, tag: str, text: str) -> etree._Element | None:
        element = etree.Element(tag)
        scheme, _, rest = text.partition(":")
        tcp = _TCP.fullmatch(text)
        if text in ("pty", "stdio", "vc", "null"):
            element.set("type", text)
        elif text.startswith("/dev/"):
            element.set("type", "dev")
            self._sub(element, "source", path=text)
        elif scheme in ("file", "pipe") and rest:
            element.set("type", scheme)
            self._sub(element, "source", path=rest)
        elif scheme == "unix" and rest:
            path, _, flags = rest.partition(",")
            element.set("type", "unix")
            self._sub(element, "source", mode="bind" if "server" in flags else "connect", path=path)
        elif tcp:
            mode = "bind" if ",server" in (tcp.group(4) or "") else "connect"
            element.set("type", "tcp")
            host = tcp.group(2) or ("0.0.0.0" if mode == "bind" else "127.0.0.1")
            self._sub(element, "source", mode=mode, host=host, service=tcp.group(3))
            self._sub(element, "protocol", type="telnet" if tcp.group(1) == "telnet" else "raw")
        else:
            return None
        return element

    def _channels(self) -> None:
        for item in self.options.texts("channel"):
            said = xl_vif.pairs(item.text)
            name, connection = said.pop("name", ""), said.pop("connection", "").lower()
            path = said.pop("path", "")
            if (
                not name
                or connection not in ("pty", "socket")
                or (connection == "socket") != bool(path)
            ):
                self.options.warn(
                    item.line,
                    "channel is not carried over",
                    "name=NAME,connection=pty or name=NAME,connection=socket,path=PATH",
                )
                continue
            channel = self._sub(
                self.devices, "channel", type="unix" if connection == "socket" else "pty"
            )
            if connection == "socket":
                self._sub(channel, "source", mode="bind", path=path)
            self._sub(channel, "target", type="xen" if self.xen else "virtio", name=name)
            for key, value in said.items():
                self.options.warn(item.line, f"channel {name}: {key}={value} is not carried over")

    def _usb_inputs(self) -> None:
        options = self.options
        devices = options.texts("usbdevice")
        options.flag("usb")
        for item in devices:
            if item.text in _INPUTS:
                self._sub(self.devices, "input", type=_INPUTS[item.text], bus="usb")
            else:
                options.warn(
                    item.line,
                    f"usbdevice {item.text[:60]} is not carried over",
                    "tablet, mouse or keyboard; a host's device goes into usbdev",
                )

    def _sound(self) -> None:
        model = self.options.text("soundhw")
        if not model:
            return
        if model == "hda" and not self.xen:
            model = "ich6"
        if model in _SOUNDS or model == "ich6":
            self._sub(self.devices, "sound", model=model)
        else:
            self.options.warn_lost("soundhw", f"libvirt takes {', '.join(sorted(_SOUNDS))}")

    def _pv_display(self) -> None:
        """The first vfb; without any, vnc=1 and its companions mean the same (xl.cfg(5))."""
        options = self.options
        vfbs = options.texts("vfb")
        for item in vfbs[1:]:
            options.warn(item.line, "a second vfb is not carried over")
        if vfbs:
            said = {"vnc": "1"} | xl_vif.pairs(vfbs[0].text)
            for key in sorted(said.keys() - _VFB_KEYS):
                options.warn(vfbs[0].line, f"vfb: {key}={said[key]} is not carried over")
            if said.get("type") == "sdl":
                said |= {"vnc": "0", "sdl": "1"}
            line = vfbs[0].line
        elif options.flag("vnc") or options.flag("sdl"):
            said = self._top_level()
            line = options.line("vnc") or options.line("sdl")
        else:
            options.flag("sdl")
            return
        self._display(said, line)
        if not self.xen and said.get("vnc") != "0":
            self._video("cirrus", None)

    def _top_level(self) -> dict[str, str]:
        said = {"vnc": "1" if self.options.flag("vnc") else "0"}
        said["sdl"] = "1" if self.options.flag("sdl") else "0"
        for name in _VNC_OPTIONS:
            text = self.options.text(name)
            if text is not None:
                said[name] = text
        return said

    def _hvm_display(self) -> None:
        options = self.options
        if options.flag("nographic"):
            return
        kind = "stdvga" if options.flag("stdvga") else "cirrus"
        kind = options.text("vga") or kind
        if options.flag("spice"):
            self._spice()
        else:
            said = self._top_level()
            if not options.has("vnc"):
                said["vnc"] = "0" if options.flag("sdl") else "1"  # xl's default
            self._display(said, options.line("vnc"))
        if kind != "none":
            self._video(kind, options.number("videoram"))

    def _video(self, kind: str, memory_mib: int | None) -> None:
        model = self._sub(self._sub(self.devices, "video"), "model", type=_VGA[kind])
        memory_mib = max(memory_mib or 0, _VGA_LEAST_MIB[kind])
        model.set("vram", str(memory_mib * 1024))

    def _display(self, said: dict[str, str], line: int) -> None:
        vnc, sdl = said.get("vnc", "0") != "0", said.get("sdl", "0") != "0"
        if vnc:
            self._vnc(said, line)
        if sdl:
            graphics = self._sub(self.devices, "graphics", type="sdl")
            for key, name in (("display", "display"), ("xauthority", "xauth")):
                if said.get(key):
                    graphics.set(name, said[key])

    def _vnc(self, said: dict[str, str], line: int) -> None:
        address, display = said.get("vnclisten") or "127.0.0.1", said.get("vncdisplay")
        listen = _HOST_DISPLAY.fullmatch(address)
        if listen:  # else an IPv6 address without brackets
            address, display = (
                listen.group(1).strip("[]") or "127.0.0.1",
                listen.group(2) or display,
            )
        graphics = self._sub(self.devices, "graphics", type="vnc")
        fixed = display is not None and display.isdecimal() and said.get("vncunused", "0") == "0"
        if fixed and VNC_PORT_BASE + int(display or "0") > 65535:
            self.options.warn(line, f"VNC display {display} is out of range; a free one is used")
            fixed = False
        graphics.set("port", str(VNC_PORT_BASE + int(display or "0")) if fixed else "-1")
        graphics.set("autoport", "no" if fixed else "yes")
        graphics.set("listen", address)
        if said.get("keymap"):
            graphics.set("keymap", said["keymap"])
        if said.get("vncpasswd"):
            graphics.set("passwd", said["vncpasswd"])

    def _spice(self) -> None:
        options = self.options
        graphics = self._sub(self.devices, "graphics", type="spice")
        port, tls = options.number("spiceport"), options.number("spicetls_port")
        graphics.set("autoport", "no" if port or tls else "yes")
        if port:
            graphics.set("port", str(port))
        if tls:
            graphics.set("tlsPort", str(tls))
        if options.text("spicehost"):
            graphics.set("listen", options.text("spicehost") or "")
        password = options.text("spicepasswd")
        if password and not options.flag("spicedisable_ticketing"):
            graphics.set("passwd", password)
        options.use("spicedisable_ticketing")
        if options.text("keymap"):
            graphics.set("keymap", options.text("keymap") or "")
        compression = options.text("spice_image_compression")
        if compression:
            self._sub(graphics, "image", compression=compression)
        streaming = options.text("spice_streaming_video")
        if streaming:
            self._sub(graphics, "streaming", mode=streaming)
        sharing = options.flag("spice_clipboard_sharing")
        self._sub(graphics, "clipboard", copypaste="yes" if sharing else "no")
        mouse = options.flag("spiceagent_mouse")
        self._sub(graphics, "mouse", mode="server" if mouse is False else "client")
