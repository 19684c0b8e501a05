/* SPDX-License-Identifier: MIT */
/*
 * Symbols both ways: a reference on the snapshot, then a search in it. A miss looks again
 * in a newer snapshot, since the victim may have loaded something.
 */
#include <errno.h>
#include <string.h>

#include "proc/handle.h"

const char *maps_object_name(const char *obj)
{
	if (obj == PR_OBJ_EXEC)
		return IMAGE_EXEC;
	if (obj == PR_OBJ_EVERY)
		return NULL;
	return obj == PR_OBJ_LDSO ? IMAGE_LDSO : obj;
}

long maps_lmid(Lmid_t lmid)
{
	return lmid == PR_LMID_EVERY ? IMAGE_ANY_LMID : lmid;
}

/* The strings of *sip live in the snapshot: the handle keeps it until it lends the
 * next. */
static void lend(struct ps_prochandle *P, struct image *im, const struct image_symbol *s,
		 prsyminfo_t *sip)
{
	handle_lock(P);
	if (P->lent_image != im) {
		image_unref(P->lent_image);
		P->lent_image = image_ref(im);
	}
	handle_unlock(P);
	sip->prs_object = s->object->path;
	sip->prs_name = s->s.name;
	sip->prs_lmid = s->object->lmid;
	sip->prs_id = s->s.id;
	sip->prs_table = s->s.table;
}

static int by_name(struct image *im, long lmid, const char *obj, const char *sym,
		   struct image_symbol *ret)
{
	int rc = image_lookup_name(im, lmid, obj, sym, ret);

	return rc == -ENXIO ? -ESRCH : rc;
}

int Pxlookup_by_name(struct ps_prochandle *P, Lmid_t lmid, const char *obj,
		     const char *sym, GElf_Sym *symp, prsyminfo_t *sip)
{
	struct image *im = maps_take(P), *newer;
	const char *oname = maps_object_name(obj);
	struct image_symbol s;
	int rc;

	if (!im)
		return -1;
	rc = by_name(im, maps_lmid(lmid), oname, sym, &s);
	if (rc && (newer = maps_take_fresh(P, im))) {
		image_unref(im);
		im = newer;
		rc = by_name(im, maps_lmid(lmid), oname, sym, &s);
	}
	if (!rc) {
		*symp = s.s.sym;
		if (sip)
			lend(P, im, &s, sip);
	}
	image_unref(im);
	return handle_fail(rc);
}

int Plookup_by_name(struct ps_prochandle *P, const char *obj, const char *sym,
		    GElf_Sym *symp)
{
	return Pxlookup_by_name(P, PR_LMID_EVERY, obj, sym, symp, NULL);
}

static void copy_name(const char *name, char *buf, size_t size)
{
	size_t len = strlen(name);

	if (!size)
		return;
	if (len >= size)
		len = size - 1;
	memcpy(buf, name, len);
	buf[len] = '\0';
}

/* What an object of no file has for an object. */
static const struct image_object jit_object = { .path = JIT_MODULE, .name = JIT_MODULE };

/* Compiled code as a symbol. */
static int lookup_code(struct image *im, uint64_t addr, struct image_symbol *ret)
{
	struct jit_code code;
	int rc = image_lookup_jit(im, addr, &code);

	if (rc)
		return rc;
	*ret = (struct image_symbol){
		.object = &jit_object,
		.s = { .name = code.name,
		       .table = OBJ_SYMTAB,
		       .sym = { .st_value = code.start,
				.st_size = code.size,
				.st_shndx = SHN_ABS,
				.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC) } },
	};
	return 0;
}

static int by_addr(struct image *im, uint64_t addr, struct image_symbol *ret)
{
	int rc = image_lookup_addr(im, addr, ret);

	return rc ? lookup_code(im, addr, ret) : 0;
}

int symbols_at(struct ps_prochandle *P, uint64_t addr, struct image **im,
	       struct image_symbol *ret)
{
	int rc = by_addr(*im, addr, ret);
	struct image *newer;

	/* Code may have been loaded since, or compiled. */
	if (!rc || (image_map_at(*im, addr) && !image_is_code(*im, addr)))
		return rc;
	newer = maps_take_fresh(P, *im);
	if (!newer)
		return rc;
	image_unref(*im);
	*im = newer;
	return by_addr(newer, addr, ret);
}

int Pxlookup_by_addr(struct ps_prochandle *P, uintptr_t addr, char *buf, size_t size,
		     GElf_Sym *symp, prsyminfo_t *sip)
{
	struct image *im = maps_take(P);
	struct image_symbol s;
	int rc;

	if (!im)
		return -1;
	rc = symbols_at(P, addr, &im, &s);
	if (!rc) {
		*symp = s.s.sym;
		copy_name(s.s.name, buf, size);
		if (sip)
			lend(P, im, &s, sip);
	}
	image_unref(im);
	return handle_fail(rc);
}

int Plookup_by_addr(struct ps_prochandle *P, uintptr_t addr, char *buf, size_t size,
		    GElf_Sym *symp)
{
	return Pxlookup_by_addr(P, addr, buf, size, symp, NULL);
}

/* --- iteration -------------------------------------------------------------------- */

/* What the callbacks of one iteration share. */
struct iteration {
	const struct image_object *object; /* whose symbols */
	int mask;                          /* BIND_* | TYPE_* */
	proc_xsym_f *fn;                   /* the client's */
	void *arg;                         /* its argument */
};

static int bit_of_binding(unsigned bind)
{
	switch (bind) {
	case STB_LOCAL:
		return BIND_LOCAL;
	case STB_WEAK:
		return BIND_WEAK;
	default:
		return BIND_GLOBAL;
	}
}

static int bit_of_type(unsigned type)
{
	switch (type) {
	case STT_NOTYPE:
		return TYPE_NOTYPE;
	case STT_OBJECT:
	case STT_TLS:
		return TYPE_OBJECT;
	case STT_FUNC:
	case STT_GNU_IFUNC:
		return TYPE_FUNC;
	case STT_SECTION:
		return TYPE_SECT;
	case STT_FILE:
		return TYPE_FILE;
	default:
		return 0;
	}
}

static int visit(void *arg, const struct obj_symbol *s)
{
	struct iteration *it = arg;
	const struct image_object *o = it->object;
	prsyminfo_t si = { o->path, s->name, o->lmid, s->id, s->table };
	GElf_Sym sym = s->sym;

	if (!(it->mask & bit_of_binding(ELF64_ST_BIND(sym.st_info))) ||
	    !(it->mask & bit_of_type(ELF64_ST_TYPE(sym.st_info))))
		return 0;
	if (sym.st_shndx != SHN_UNDEF && sym.st_shndx != SHN_ABS)
		sym.st_value += o->base;
	return it->fn(it->arg, &sym, s->name, &si);
}

static int iterate(struct image *im, struct iteration *it, int which)
{
	struct obj *o;
	int rc = image_object_obj(im, it->object, &o);

	if (rc)
		return handle_fail(rc);
	return image_object_iter(im, it->object, (enum obj_table)which, visit, it);
}

int Pxsymbol_iter(struct ps_prochandle *P, Lmid_t lmid, const char *obj, int which,
		  int mask, proc_xsym_f *fn, void *arg)
{
	struct image *im = maps_take(P);
	struct iteration it = { .mask = mask, .fn = fn, .arg = arg };
	const char *oname = maps_object_name(obj);
	const struct image_object *objs;
	size_t n;
	int rc = 0;

	if (!im)
		return -1;
	if (oname) {
		it.object = image_object_named(im, maps_lmid(lmid), oname);
		rc = it.object ? iterate(im, &it, which) : handle_fail(-ESRCH);
		image_unref(im);
		return rc;
	}
	objs = image_objects(im, &n);
	for (size_t i = 0; i < n && !rc; i++) {
		it.object = &objs[i];
		if (maps_lmid(lmid) == IMAGE_ANY_LMID || objs[i].lmid == lmid)
			rc = iterate(im, &it, which);
		if (rc == -1)
			rc = 0; /* an object whose file cannot be read has no symbols */
	}
	image_unref(im);
	return rc;
}

/* The client's function without the last argument. */
struct plain {
	proc_sym_f *fn; /* the client's */
	void *arg;      /* its argument */
};

static int visit_plain(void *arg, const GElf_Sym *sym, const char *name,
		       const prsyminfo_t *si)
{
	struct plain *p = arg;

	(void)si;
	return p->fn(p->arg, sym, name);
}

int Psymbol_iter(struct ps_prochandle *P, const char *obj, int which, int mask,
		 proc_sym_f *fn, void *arg)
{
	struct plain p = { fn, arg };

	return Pxsymbol_iter(P, PR_LMID_EVERY, obj, which, mask, visit_plain, &p);
}
